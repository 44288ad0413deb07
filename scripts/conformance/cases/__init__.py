"""What is asked: one file per family of APIs, each with a list of `SUBJECTS`."""

from conformance.cases import admin, configs, connection, groups, records, topics

SUBJECTS = {subject.api: subject for family in (connection, topics, records, groups, configs, admin)
            for subject in family.SUBJECTS}
