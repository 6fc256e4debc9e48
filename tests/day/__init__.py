"""A day in the life of one router, in ten minutes."""
