"""`alctl` and `python -m alctl`."""


def main() -> None:
    """Run the command line."""
    from alctl.cli import app

    app(prog_name="alctl")


if __name__ == "__main__":
    main()
