"""Images, containers, the layer graph and its figures, on top of the union filesystem in `fusefs`."""
