input()
a = list(map(float, input().split()))
print(f'{sum(a) / len(a):.7f}')
