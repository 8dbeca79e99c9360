"""Detection on DataFrames: what `al.detect` does in a notebook and `almenara detect` in a terminal, with no hub."""
