"""Half of the points for a coarse answer; testlib's way to give them."""
import sys

given, said = float(open(sys.argv[1]).read()), float(open(sys.argv[2]).read())
print("points", 1.0 if abs(given - said) < 0.01 else 0.5 if abs(given - said) < 1 else 0.0, file=sys.stderr)
sys.exit(7)
