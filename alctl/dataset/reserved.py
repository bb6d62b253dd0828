"""How many images `init` reserves, and what can be seen with them."""


def default_reserved(split: str, images: int) -> int:
    """Return how many images are reserved: a tenth, at least 20, for validation, a twentieth for the test, at most 500.

    The guard says nothing with fewer than 20. Of few images a fifth at most: the others are to teach.
    """
    if split == "test":
        return min(500, images // 20)
    return min(500, max(20, images // 10), images // 5)


def what_shows(validation: int) -> str:
    """Return how large a lead so many validation images show more often than not, and how to get more.

    The numbers are those of the table in docs/learning-loss.md.
    """
    told = f"{validation:,} validation images"
    more = "`alctl add MORE_IMAGES --validation N` reserves more"
    if validation < 20:
        return f"{told} are too few to tell whether predicted losses choose well, which takes 20; {more}"
    lead = "only of more than 0.1" if validation < 50 else "of 0.1" if validation < 200 else "of 0.05"
    return f"{told} show a lead of predicted losses over margin {lead} in ranking accuracy; {more}"
