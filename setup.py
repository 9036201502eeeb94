"""Adds configs/ to the packages, as netzoo.configs; setup.cfg has everything else."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["netzoo*"]), "netzoo.configs"])
