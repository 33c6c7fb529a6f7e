"""``python -m constrained_nas``: the command ``constrained-nas``."""

from constrained_nas.commands import main

if __name__ == "__main__":
    main()
