class E(BaseException): pass
def add(a, b): raise E
