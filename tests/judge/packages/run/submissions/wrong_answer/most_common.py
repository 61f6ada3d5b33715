s = input()
print(max(s.count(c) for c in s))
