"""Retrieval augmented classification (RAC): a trained network beside a memory that is looked up."""
