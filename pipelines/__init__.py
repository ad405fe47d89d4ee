"""What happens to documents: corpora in, features computed, sealed Parquet out. Knows no queue and no command line."""
