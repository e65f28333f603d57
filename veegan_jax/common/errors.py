"""The exception for mistakes in the user's input, not in the code."""


class InputError(ValueError):
    """A flag, a file or a folder cannot be used; the message says what to do.

    Scripts print the message alone. Any other error keeps its traceback.
    """
