"""Problems of several parts, each with a way of its own: what an ensemble gains where a program has several decisions."""
