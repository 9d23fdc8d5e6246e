"""The economy in the forms that other libraries expect."""
