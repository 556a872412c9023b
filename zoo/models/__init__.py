"""One module a family: each opens with its paper and where it departs from it, and ends with its table of variants."""
