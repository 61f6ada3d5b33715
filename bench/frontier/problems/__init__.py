"""Generated contest problems: families by topic, and how one problem is drawn from a family."""
