n = int(input())
print(sum(all(p % d for d in range(2, p)) for p in range(2, n)))
