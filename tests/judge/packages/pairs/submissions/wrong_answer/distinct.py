n, k = map(int, input().split())
a = set(map(int, input().split()))
print(sum(k - x in a for x in a) // 2)
