"""Adds configs/ and lessons/ to the packages of netzoo; setup.cfg has everything else."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["netzoo*"]), "netzoo.configs", "netzoo.lessons"])
