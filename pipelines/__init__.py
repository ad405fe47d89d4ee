"""What happens to documents: corpora in, features computed, sealed Parquet out. Knows no queue and no command line."""

from importlib.metadata import version

__version__ = version("penstock")
