"""The training column: tensors in memory and files in a folder it is handed. Knows neither the store nor a network."""
