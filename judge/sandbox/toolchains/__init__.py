"""What compiles and runs the languages other than Python on this machine, a module each."""
