"""The dataset's folder: put-if-absent storage, plan, parts, quarantine, seal. Only this package touches it."""
