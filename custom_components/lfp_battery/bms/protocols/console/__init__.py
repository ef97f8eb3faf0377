"""The text console of Pytes and Pylontech packs."""
