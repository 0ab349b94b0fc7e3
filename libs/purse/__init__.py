"""The electronic purse (电子钱包) to the byte: crypto, virtual card and PSAM, terminal and host. See README.md."""
