"""`python -m fedbank` is the `fedbank` command."""

from fedbank.party.command import app

app()
