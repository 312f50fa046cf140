"""What is known, in the customer's storage account."""
