"""Addresses of the pages."""

from django.urls import path

from chats.pages import theme, views

app_name = "pages"
urlpatterns = [
    path("", views.home, name="home"),
    path("theme/", theme.choose, name="theme"),
]
