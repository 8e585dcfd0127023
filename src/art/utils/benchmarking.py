"""Where scripts look for charts of benchmarks; importing it says what to use here."""

from art.absent import not_here

raise not_here(__name__)
