"""Every SQL statement, as functions of a connection; none of them commits."""
