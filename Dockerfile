FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 DATA_DIR=/data
WORKDIR /srv/parley
COPY requirements.txt .
RUN pip install --no-cache-dir --root-user-action=ignore -r requirements.txt
COPY . .
RUN useradd --system --create-home parley && mkdir -p /data/media && chown -R parley /data \
    && python manage.py collectstatic --noinput --verbosity 0 && chown -R parley build
USER parley
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["python"]
CMD ["manage.py", "serve", "--host", "0.0.0.0", "--port", "8000"]
