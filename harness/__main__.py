"""`python -m harness`: `bench` where a launcher such as torchrun asks for a module."""

from harness.cli.main import main

if __name__ == "__main__":
    main()
