"""The rules, one module for each domain. Each has a function for each rule and the records in `RULES`."""
