from hypothesis import settings

# Nothing here asserts a duration, so hypothesis must not either.
settings.register_profile("patient", deadline=None, max_examples=50)
settings.load_profile("patient")
