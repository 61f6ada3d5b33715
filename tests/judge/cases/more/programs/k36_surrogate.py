def add(a, b): return '\ud800'
