n = int(input())
print(sum(all(p % d for d in range(p)) for p in range(2, n)))
