"""The collector: carries the records of many terminals to the gateway, in signed batch files that survive any cut."""
