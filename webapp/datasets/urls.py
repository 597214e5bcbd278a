from django.urls import path

from webapp.datasets import table, tus, views

app_name = "datasets"
urlpatterns = [
    path("", views.datasets, name="list"),
    path("sample/", views.sample, name="sample"),
    path("uploads/", tus.uploads, name="uploads"),
    path("uploads/<uuid:pk>", tus.upload, name="upload"),
    path("<uuid:pk>/", views.dataset, name="show"),
    path("<uuid:pk>/name/", views.name, name="name"),
    path("<uuid:pk>/state/", views.state, name="state"),
    path("<uuid:pk>/files/", views.files, name="files"),
    path("<uuid:pk>/readings/", views.readings, name="readings"),
    path("<uuid:pk>/mapping/", views.mapping, name="mapping"),
    path("<uuid:pk>/rejected.csv", views.rejected, name="rejected"),
    path("<uuid:pk>/deletion/", views.deletion, name="deletion"),
    path("<uuid:pk>/restoration/", views.restoration, name="restoration"),
    path("<uuid:pk>/versions/", views.versions, name="versions"),
    path("<uuid:pk>/versions/<int:number>/", table.version, name="version"),
    path("<uuid:pk>/versions/<int:number>/rows.<str:ending>", table.download, name="download"),
    path("<uuid:pk>/versions/<int:number>/rows/<int:position>/", table.row, name="row"),
]
