"""Django's admin as `django-admin startproject` has it, which is made for the root of a site."""
import sys
from pathlib import Path

import django
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.urls import path

directory, address = sys.argv[1:]
settings.configure(
    DEBUG=True,
    SECRET_KEY="not a secret",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(directory, "db.sqlite3"))}},
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth", "django.contrib.messages.context_processors.messages"]}}],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],  # which is fast
)
django.setup()
urlpatterns = [path("admin/", admin.site.urls)]
if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User

    User.objects.create_superuser("ada", password="lovelace")
    call_command("runserver", address, use_reloader=False)
