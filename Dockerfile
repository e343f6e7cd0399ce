# One image for web and worker; torch's CPU build keeps it small.
FROM python:3.12-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 MILLM_HOME=/data
RUN useradd --create-home millm && install -d -o millm /data
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY . .
USER millm
VOLUME /data
EXPOSE 8000
CMD ["python", "manage.py", "run"]
