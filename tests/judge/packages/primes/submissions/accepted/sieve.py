n = int(input())
s = bytearray([1]) * max(n, 2)
s[0:2] = b'\0\0'
for i in range(2, int(n ** 0.5) + 1):
    if s[i]:
        s[i * i::i] = bytes(len(s[i * i::i]))
print(sum(s[:n]))
