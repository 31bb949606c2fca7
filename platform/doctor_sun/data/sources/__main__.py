"""`python -m doctor_sun.data.sources`: the data sets that can be read, and what each expects."""

from doctor_sun.data.sources.registry import SOURCES, options_of


def main() -> None:
    """Print one paragraph a kind."""
    for name, kind in SOURCES.items():
        card = kind.card
        rows = ", ".join(f"{split} {count:,}" for split, count in card.rows.items())
        print(f"{name}: {card.title} ({card.domain}, {card.task}, {' and '.join(card.languages)})")
        print(f"  rows     {rows or 'as many as there are'}")
        print(f"  layout   {card.layout}")
        print(f"  where    {card.where}")
        print(f"  licence  {card.licence}")
        print(f"  options  {', '.join(options_of(kind)) or 'none'}\n")


if __name__ == "__main__":
    main()
