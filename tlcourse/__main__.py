"""``python -m tlcourse``: the ``tlcourse`` command."""

from tlcourse.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
