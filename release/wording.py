"""How people say how long something lasts, and see others' words, the same on every page. Pure."""


def lasting(seconds: float, *, units: int = 2) -> str:
    """Say how long something lasts: `0.5 s`, `12 s`, `3 min 4 s`, `2 h`, `4 d 7 h`.

    Args:
        seconds: less than 0 counts as 0.
        units: how many of them to say at most.
    """
    if seconds < 10:
        return f"{max(0.0, seconds):.2g} s"
    whole = round(seconds)
    sizes = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    first = next(n for n, (size, _) in enumerate(sizes) if whole >= size)
    said = []
    for size, name in sizes[first : first + units]:
        count, whole = divmod(whole, size)
        said += [f"{count} {name}"] if count else []
    return " ".join(said)


def tame(text: str) -> str:
    """Write what a terminal would obey, and what would begin a line of its own, as escapes."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
