"""What every part of the package may use and that uses none of them."""
