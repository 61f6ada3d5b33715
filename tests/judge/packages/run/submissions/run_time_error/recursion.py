def f(s, i, now):
    if i == len(s):
        return now
    return max(now, f(s, i + 1, now + 1 if s[i] == s[i - 1] else 1))
s = input()
assert len(s) > 1 or s.isdigit()
print(f(s, 1, 1))
