"""Mixed load against a real server while its parts are killed, hung and locked; see `make chaos`."""
