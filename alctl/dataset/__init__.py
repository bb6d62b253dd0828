"""Images in: a folder, a manifest or a dataset by name becomes items of the pool. SQL through database/, never torch."""
