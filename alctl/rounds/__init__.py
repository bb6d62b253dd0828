"""The hinge between state and compute: select, train, predict. The only wing that imports database/ and model/."""
