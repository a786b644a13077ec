"""The explorer: domains, clips and predictions of runs, linked, in a notebook and as one page that needs no network."""
