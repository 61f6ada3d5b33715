"""A number whose square is near the given one, as near as a flag says; a validator of the Kattis form."""
import sys

wanted = float(open(sys.argv[1]).read())
tolerance = float(sys.argv[sys.argv.index("tolerance") + 1])
try:
    value = float(sys.stdin.read())
except ValueError:
    sys.exit(43)
sys.exit(42 if abs(value * value - wanted) <= tolerance * max(1.0, wanted) else 43)
