s = input()
best = 1
i = 1
while i < len(s):
    j = i
    while s[j] == s[i - 1]:
        j = j + 1 if j + 1 < len(s) else j
    i = j + 1
print(best)
