"""Drafts: guesses at the next tokens, so that one forward pass may yield several of them.

drafter.py         the contract: what a drafter is told and what it answers
verification.py    one forward pass over a draft, and the choices that follow it
longest_match.py   drafts what followed the last tokens before
no_draft.py        drafts nothing
"""
